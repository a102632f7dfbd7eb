"""params.yaml: what each of its sections may hold, and the one way to read them.

    section.py      what all sections have in common
    loading.py      `load_params`: the file, checked, as the settings that a stage asks for
    inheritance.py  a model's section overrides `train` key by key
    messages.py     a refused value as one line
    <stage>.py      the settings of that stage; models.py, data.py, runtime.py: shared ones

`cnnpipe.validate.schema` puts the sections together to the schema of the whole file.

No stage but `validate` depends on this package in dvc.yaml. DVC tracks the values themselves, under
`params:`, and the file names every key, so a change in here can refuse a value but change none.
"""
