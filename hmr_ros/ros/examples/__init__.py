"""Small nodes to start your own from: each reads the node's topics and does one thing with them."""
