"""What is trained on: photos from anywhere, crops, and the noise that is put on them."""
