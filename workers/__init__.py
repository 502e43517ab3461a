"""The queue's two sides: what enqueues and follows work, and what does it."""
