"""The modules of the Gradio page that app.py assembles; the rest of the library does not import Gradio."""
