"""Image embedding models: inference, training, evaluation, sweeps. Knows no web, queue or vector store."""
