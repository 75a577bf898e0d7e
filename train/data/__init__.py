"""Training data: photos from files and the Hub, crops of them, and the noise added to the crops."""
