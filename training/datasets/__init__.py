"""Data sets as their authors give them out, read into one record: `people.People`. See docs/datasets.md."""
