//! The proleptic Gregorian calendar over days and microseconds since 1970.
//!
//! Source: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms"; PostgreSQL 15, `timestamp.c`.
//! Knows numbers only.

/// Microseconds of a second, a minute, an hour, a day.
pub(super) const SECOND: i64 = 1_000_000;
pub(super) const MINUTE: i64 = 60 * SECOND;
pub(super) const HOUR: i64 = 60 * MINUTE;
pub(super) const DAY: i64 = 24 * HOUR;

/// Days from 4713-11-24 BC, where Julian days begin, to 1970.
pub(super) const JULIAN_1970: i64 = 2_440_588;

/// Days since 1970 of a calendar day; `month` is 1 to 12.
pub(super) fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Year, month and day of a day since 1970. The year before 1 is 0.
pub(crate) fn date_of(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

/// How many days a month has.
pub(super) fn days_of_month(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn is_leap(year: i64) -> bool {
    year.rem_euclid(4) == 0 && (year.rem_euclid(100) != 0 || year.rem_euclid(400) == 0)
}

/// A moment on the calendar and the clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Moment {
    pub(super) year: i64,
    pub(super) month: i64,
    pub(super) day: i64,
    /// Days since 1970.
    pub(super) days: i64,
    /// Microseconds since midnight.
    pub(super) time: i64,
}

impl Moment {
    /// The moment `micros` after 1970 began.
    pub(super) fn of(micros: i64) -> Self {
        let days = micros.div_euclid(DAY);
        let (year, month, day) = date_of(days);
        Self {
            year,
            month,
            day,
            days,
            time: micros.rem_euclid(DAY),
        }
    }

    pub(super) fn hour(self) -> i64 {
        self.time / HOUR
    }

    pub(super) fn minute(self) -> i64 {
        self.time / MINUTE % 60
    }

    pub(super) fn second(self) -> i64 {
        self.time / SECOND % 60
    }

    pub(super) fn micros(self) -> i64 {
        self.time % SECOND
    }

    /// 0 is Sunday.
    pub(super) fn weekday(self) -> i64 {
        (self.days + 4).rem_euclid(7)
    }

    /// 1 is the first of January.
    pub(super) fn day_of_year(self) -> i64 {
        self.days - days_of(self.year, 1, 1) + 1
    }

    /// Year and week of ISO 8601.
    pub(super) fn iso_week(self) -> (i64, i64) {
        // The Thursday of a week is in the week's year.
        let thursday = self.days - (self.weekday() + 6).rem_euclid(7) + 3;
        let (year, ..) = date_of(thursday);
        (year, (thursday - days_of(year, 1, 1)) / 7 + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_dates_go_both_ways() {
        for days in [-719_162, -1, 0, 59, 11_016, 2_932_896, -800_000] {
            let (year, month, day) = date_of(days);
            assert_eq!(days_of(year, month, day), days);
        }
        assert_eq!(date_of(-719_162), (1, 1, 1));
        assert_eq!(date_of(2_932_896), (9999, 12, 31));
    }

    #[test]
    fn weeks_are_those_of_iso_8601() {
        let week = |y, m, d| Moment::of(days_of(y, m, d) * DAY).iso_week();
        assert_eq!(week(2024, 1, 1), (2024, 1));
        assert_eq!(week(2023, 1, 1), (2022, 52));
        assert_eq!(week(2020, 12, 31), (2020, 53));
        assert_eq!(week(2021, 1, 3), (2020, 53));
    }
}
