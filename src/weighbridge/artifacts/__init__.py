"""Files emitted beside the safetensors: exported, compared with their source, and weighed like the source itself.

Loads NumPy, gguf and tokenizers on demand only; ``formats`` and ``record`` load nothing.
"""
