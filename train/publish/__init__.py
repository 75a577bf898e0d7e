"""Model cards, and pushing models and the page to the Hugging Face Hub."""
