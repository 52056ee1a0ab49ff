"""Reads the user's records as rows (`row.DialogueRow`), and finds their faults.

From a file to rows:

- `files` opens a source: `folders`, `apps_folder`, `saved_folder` and `hub` find its parts; `lines`, `json_files` (with
  `json_objects`), `csv_files` and `parquet_files` read records; `foreign` refuses other formats.
- `reading` turns the records of a file into rows: `gather` joins records that belong together, and `shapes` is the table
  that says which fields make which shape, and which function reads it.
- `answers`, `pairs`, `choices`, `rankings`, `oasst`, `kaggle` and `own` hold these functions. `labels` and `numbers` read
  the labels, scores and margins that say how good an answer is.
- `prompts` reads a prompt from the field that holds it. `turns` reads an answer with the turns to which it replies.
- `exchanges`, `messages`, `hh_strings`, `written` and `shared_beginning` read texts and dialogues in every form.
- `problems` and `tested_functions` read the user's own tests.

What is done with rows: `check` counts the rows before training, `source_check` describes a source, `faults` and
`length_bias` find faults of rows, and `fix` writes the records without faults to a new file.
"""
