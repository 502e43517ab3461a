"""Ways to run Lookalike: the command line, all parts on one machine, containers, Kubernetes."""
