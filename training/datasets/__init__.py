"""Readers of data sets, as their authors distribute them, into one record: `people.People`. See docs/datasets.md."""
