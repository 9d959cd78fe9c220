"""Where the service goes: a folder for each target, the images, and what CI does with them."""
