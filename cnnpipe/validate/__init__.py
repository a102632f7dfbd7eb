"""The validate stage: params.yaml checked before any other stage runs.

schema.py       the whole of params.yaml, and its JSON schema for editors
other_data.py   removing the results of another data set
"""
