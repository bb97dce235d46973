"""What a model can call: `calculator` works out expressions."""

from bytemill.tools.calculator import CalculatorError, calculate

__all__ = ["CalculatorError", "calculate"]
