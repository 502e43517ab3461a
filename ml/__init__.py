"""Images to vectors, and how that gets better: torch, timm, Ray. Knows no web, queue or store."""
