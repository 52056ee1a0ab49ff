"""Reads the user's records as rows (`row.DialogueRow`), and finds their faults.

From a file to rows:

- `files` opens a source. `folders`, `apps_folder`, `saved_folder` and `hub` open sources that are not single files.
  `lines`, `json_files` (with `json_objects`), `csv_files` and `parquet_files` read the records of a file. `foreign`
  refuses other formats.
- `reading` turns the records of a file into rows: `gather` joins records that belong together. The table in `shapes`
  says by which fields each shape of records is recognised, and which function reads the records of this shape.
- `answers`, `pairs`, `choices`, `rankings`, `oasst`, `kaggle` and `own` hold these functions. `labels` and `numbers` read
  the labels, scores and margins that say how good an answer is.
- `prompts` reads a prompt from the field that holds it. `turns` reads an answer with the turns to which it replies.
- `exchanges`, `messages`, `hh_strings`, `written` and `shared_beginning` read texts and dialogues in every form.
- `problems` and `tested_functions` read the user's own tests.

Modules that use rows: `check` counts the rows before training, `source_check` describes a source, `faults` and
`length_bias` find faults of rows, and `fix` writes the records without faults to a new file.
"""
