"""The parts of the Gradio page that app.py puts together; nothing else in the library knows Gradio."""
