"""The generator of the demo's crash: frames as the venues would have sent them."""
