"""What touches the machine: files, devices, processes, threads, and errors for a person.

errors.py        the error meant for a person
artifacts.py     atomic writes; JSON, CSV, checksummed weights
command.py       what all stages share: where things lie, and how an error reaches a person
hardware.py      devices, number formats, their description beside results
surroundings.py  what a notebook or a console sets for other programs
processes.py     a process that ends when the one that started it has ended
parallel.py      independent calls side by side, one to a core
threads.py       how OpenMP waits, how malloc frees, and when Python looks for garbage
optimizer.py     torch's AdamW without its wrappers for compilers
"""
