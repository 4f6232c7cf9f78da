"""``python main.py …`` from a checkout; the program is ``src/main.py``, importable as ``hymarl.main``."""

if __name__ == "hymarl.main":
    raise SystemExit("a folder called hymarl on Python's path hides the package: start from elsewhere, or rename it")

try:
    from hymarl.main import main
except ModuleNotFoundError as error:
    if error.name != "hymarl":
        raise
    raise SystemExit("hymarl is not installed: run `pip install -e .` here first, or `make train`") from None

if __name__ == "__main__":
    main()
