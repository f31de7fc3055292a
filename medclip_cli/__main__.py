"""`medclip` and `python -m medclip_cli`."""


def main() -> None:
    """Run the command line."""
    from medclip_cli.app import app

    app()


if __name__ == "__main__":
    main()
