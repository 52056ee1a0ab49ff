"""Reads the user's records as rows (`row.DialogueRow`), and finds faults in the rows.

From a file to rows:

- `files` opens a source. `folders`, `apps_folder`, `saved_folder` and `hub` open sources that are not single files.
  `lines`, `json_files` (with `json_objects`), `csv_files` and `parquet_files` read the records of a file. `foreign`
  refuses other formats.
- `reading` turns the records of a file into rows. `gather` first joins records that belong together. Records
  differ in their fields. Each combination of fields that preflab can read is called a shape. The table in `shapes`
  lists all shapes, and the function that reads the records of each shape.
- `answers`, `pairs`, `choices`, `rankings`, `oasst`, `kaggle` and `preflab_format` contain these functions. `labels`
  and `numbers` read the labels, scores and margins that rate the answers.
- `prompts` reads the prompt of a record. `turns` reads an answer together with the turns before the answer.
- `exchanges`, `messages`, `hh_strings`, `written` and `shared_beginning` read texts and dialogues in every form.
- `problems` and `tested_functions` read the tests of programming problems in the user's files.

The other modules use the rows: `check` counts the rows before training. `source_check` describes a source. `faults` and
`length_bias` find faults in rows. `fix` writes the records without faults to a new file.
"""
