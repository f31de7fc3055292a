import pkgutil

import encoders


def test_the_package_lists_its_modules():
    assert sorted(encoders.__all__) == sorted(
        module.name for module in pkgutil.iter_modules(encoders.__path__)
    )
