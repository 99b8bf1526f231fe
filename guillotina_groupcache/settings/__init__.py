"""The `groupcache` section: how it is read and checked, and what follows from it for a process."""
