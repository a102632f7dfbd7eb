"""The download stage: the data set's files, from mirrors that may answer anything.

files.py     `download`: fills the folder of a data set
mirrors.py   one file from the first mirror that has the right bytes
"""
