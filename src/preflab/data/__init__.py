"""The records that people have: where they lie (`files`), what they mean (`shapes`), what is wrong with them (`check`)."""
