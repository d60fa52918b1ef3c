"""Own photos: K photos with masks show objects to find in others."""
