"""Small nodes to start one's own from: each reads the node's topics and does one thing with them."""
