"""Forward passes of many edits, with everything before an edit computed once."""
