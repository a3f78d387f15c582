"""What must never stand in a worker's log: complaints of the machine, secrets, whole phone numbers."""
import re

COMPLAINT = re.compile(r"assert|AddressSanitizer|LeakSanitizer|ThreadSanitizer|runtime error", re.IGNORECASE)
DIGITS = re.compile(r"\d{10,15}")
# Spellings of a number that are sought as they were written; more would take too long, and digits are sought for all.
SPELLINGS_MAX = 2000


class LogCheck:
    """Knows the secrets and phones of one test."""

    def __init__(self):
        self.secrets, self.numbers, self.spellings = set(), set(), set()

    def add_secret(self, secret):
        self.secrets.add(secret)

    def add_phone(self, phone):
        digits = re.sub(r"\D", "", phone) if isinstance(phone, str) else str(phone) if isinstance(phone, int) else ""
        if len(digits) < 10:
            return
        self.numbers.add(digits)
        if len(digits) == 11 and digits.startswith("1"):
            self.numbers.add(digits[1:])
        elif len(digits) == 10:
            self.numbers.add("1" + digits)
        if isinstance(phone, str) and not phone.lstrip("+").isdigit() and len(self.spellings) < SPELLINGS_MAX:
            self.spellings.add(phone)

    def problems(self, text):
        """[what is wrong], each with its line where that does not repeat the secret."""
        found = []
        for number, line in enumerate(text.splitlines(), 1):
            if COMPLAINT.search(line):
                found.append(f"line {number}: {line[:300]}")
            if any(secret in line for secret in self.secrets):
                found.append(f"line {number} holds a secret")
            if any(run in self.numbers for run in DIGITS.findall(line)):
                found.append(f"line {number} holds a whole phone number")
        found += ["the log holds a phone number as the event spelled it" for spelling in self.spellings if spelling in text]
        return found
