"""Task queue: client side and worker side, and the storage that both stand on."""
