"""Who may read which page: what a page shows (`pages`), who asks (`readers`), and the guard before every page (`guard`)."""
