print("Hello from the file")
