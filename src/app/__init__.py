"""The application: checks and builds a configuration, and trains, evaluates or inspects a run.

Where to look:

- what was typed: `command_line` (before Hydra reads it), `options` (option files), `config` (from what Hydra composed
  to a checked `RunConfig`), `when_chosen` (values that depend on what is chosen), `directories` (where files go)
- what is done: `launch` (decides), `assembly` (builds), `train`, `evaluate`, `export`, `check`, `render`, `protocol`
  (header), `signals` (stopping)
- earlier runs: `runs` (which there are), `saved` (their configuration), `changes` (what may be changed), `trust` (what
  they may import)
- mistakes: `mistakes` (from errors to sentences), `names` (what was probably meant), `pymarl` (its command lines)
- from Python: `api`, `composing`, `hydra_state`
"""
