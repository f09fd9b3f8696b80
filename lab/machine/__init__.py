"""The machines of the lab: images, layers, the supervisor that boots them, their network and the ways in."""
