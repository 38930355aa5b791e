"""A campaign's life: publishing, pausing, rollback, and what a worker serves of it."""
