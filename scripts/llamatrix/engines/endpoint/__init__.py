"""An endpoint: a server of the OpenAI API that the harness did not start."""
