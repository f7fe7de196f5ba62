"""What is kept on disk between runs: atomic files, the work directory, the lock, the highest serials seen."""
