"""The whole product on one machine, for a demo: processes that end with their parent, and a screen that shows them."""
