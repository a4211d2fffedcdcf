"""llamatrix: a declarative, reproducible benchmark of local language models.

One meaning each, everywhere in code, messages and documents:

matrix
    the file ``matrix.toml``: what is to be measured
axis
    one list in it (pins, builds, models)
profile
    a named selection of the matrix
cell
    one combination: measurement, model and weights, pin, build
plan
    the ordered cells of a profile
pin
    the exact identity of an input
lock
    all pins as they were resolved: ``matrix.lock``
build
    compiled binaries of one pin
weights
    one GGUF file
server
    a running llama-server endpoint
task
    an agentic task (Invoke's tasks are called commands)
trial
    one attempt at a task
turn
    one prompt of a trial: the first prompt, or feedback after a failed check
outcome
    what came of a measurement, good or bad
record
    cell, pins, host and outcome, written once
table
    a view of records
reference set
    published numbers with their conditions
verdict
    what a comparison may say
"""

__version__ = "0.1.0"
