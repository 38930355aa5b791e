"""The whole product on one machine, to watch: processes that end with their parent, and the screen."""
