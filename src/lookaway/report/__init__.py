"""Tables, figures and the page, from what a study stored; no torch here."""
