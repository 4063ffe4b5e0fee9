"""The invented world of the dataset `synth`: people, sentences, documents, articles, tokenizer.

Everything is a function of the seed. Following Allen-Zhu and Li's bioS (arXiv 2309.14316) in spirit, with templates, names
and sizes of our own.
"""
