"""The download stage: the data set's files, checked and brought to one form.

files.py       `download`: fills the folder of a data set
mirrors.py     one file from the first mirror that has the right bytes
folder.py      a data set of one's own: pictures in a folder for each class
picture.py     one picture as 28×28 grey values
idx_files.py   the same from four idx files, such as EMNIST's
"""
