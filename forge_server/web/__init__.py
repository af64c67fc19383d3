"""Plain HTML pages for people: no JavaScript, nothing from other hosts."""
