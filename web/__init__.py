"""The portal: pages and the JSON API. Enqueues work and shows answers; never computes them."""
