"""Pictures as arrays: files, colour, resize. Knows no network."""
