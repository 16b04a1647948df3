//! Where nodes stand, and how long light takes between them.
//!
//! One-way delay = great-circle distance × 1.5 / (2/3 c) + 0.5 ms. Light in fibre travels at about two thirds of its speed
//! in vacuum (refractive index 1.468, ITU-T G.652); routes between cities are longer than great circles, by 1.4 to 2 times
//! in measurements of the Internet ("Why Is the Internet so Slow?!", Bozkurt et al., PAM 2017); half a millisecond is for
//! routers and the last mile at either end. Coordinates are those of the cities' centres, to a tenth of a degree.

/// A city: name (IATA code of its airport), latitude and longitude in degrees.
pub type City = (&'static str, f64, f64);

/// Where PoPs stand. The first five are where cores stand.
pub const CITIES: [City; 60] = [
    ("fra", 50.1, 8.7),
    ("iad", 38.9, -77.0),
    ("sin", 1.4, 103.8),
    ("sfo", 37.8, -122.4),
    ("gru", -23.6, -46.6),
    ("ams", 52.4, 4.9),
    ("arn", 59.3, 18.1),
    ("ath", 38.0, 23.7),
    ("atl", 33.7, -84.4),
    ("akl", -36.8, 174.8),
    ("bcn", 41.4, 2.2),
    ("bkk", 13.8, 100.5),
    ("blr", 13.0, 77.6),
    ("bog", 4.7, -74.1),
    ("bom", 19.1, 72.9),
    ("bos", 42.4, -71.1),
    ("bru", 50.8, 4.4),
    ("bud", 47.5, 19.0),
    ("cai", 30.0, 31.2),
    ("cgk", -6.2, 106.8),
    ("cph", 55.7, 12.6),
    ("cpt", -33.9, 18.4),
    ("del", 28.6, 77.2),
    ("den", 39.7, -105.0),
    ("dfw", 32.8, -96.8),
    ("doh", 25.3, 51.5),
    ("dub", 53.3, -6.3),
    ("dxb", 25.2, 55.3),
    ("eze", -34.6, -58.4),
    ("hel", 60.2, 24.9),
    ("hkg", 22.3, 114.2),
    ("hnd", 35.7, 139.7),
    ("icn", 37.6, 127.0),
    ("ist", 41.0, 29.0),
    ("jnb", -26.2, 28.0),
    ("kix", 34.7, 135.5),
    ("lax", 34.1, -118.2),
    ("lhr", 51.5, -0.1),
    ("lim", -12.0, -77.0),
    ("lis", 38.7, -9.1),
    ("los", 6.5, 3.4),
    ("maa", 13.1, 80.3),
    ("mad", 40.4, -3.7),
    ("mel", -37.8, 145.0),
    ("mex", 19.4, -99.1),
    ("mia", 25.8, -80.2),
    ("mnl", 14.6, 121.0),
    ("mrs", 43.3, 5.4),
    ("mxp", 45.5, 9.2),
    ("nbo", -1.3, 36.8),
    ("ord", 41.9, -87.6),
    ("osl", 59.9, 10.8),
    ("otp", 44.4, 26.1),
    ("per", -31.9, 115.9),
    ("prg", 50.1, 14.4),
    ("scl", -33.4, -70.7),
    ("sea", 47.6, -122.3),
    ("syd", -33.9, 151.2),
    ("tlv", 32.1, 34.8),
    ("yyz", 43.7, -79.4),
];

/// Mean radius of the Earth, in kilometres (IUGG).
const EARTH_KM: f64 = 6371.0;
/// Two thirds of the speed of light, in kilometres per microsecond.
const FIBRE_KM_PER_US: f64 = 0.299_792 * 2.0 / 3.0;
/// How much longer than the great circle a route is.
const DETOUR: f64 = 1.5;
/// Routers and the last mile, in microseconds.
const BASE_US: f64 = 500.0;

/// The one-way delay between two cities, in microseconds.
#[must_use]
pub fn delay_us(a: City, b: City) -> u64 {
    let (a_lat, b_lat) = (a.1.to_radians(), b.1.to_radians());
    let d_lat = (b_lat - a_lat) / 2.0;
    let d_lon = (b.2 - a.2).to_radians() / 2.0;
    // The haversine formula.
    let h = d_lat.sin().powi(2) + a_lat.cos() * b_lat.cos() * d_lon.sin().powi(2);
    let km = 2.0 * EARTH_KM * h.sqrt().min(1.0).asin();
    (km * DETOUR / FIBRE_KM_PER_US + BASE_US).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn city(name: &str) -> City {
        *CITIES
            .iter()
            .find(|city| city.0 == name)
            .unwrap_or(&CITIES[0])
    }

    #[test]
    fn delays_are_those_of_the_internet() {
        // Published round trips between these cities: 75-90, 130-150, 230-290, 2-12 ms.
        for (a, b, least_ms, most_ms) in [
            ("lhr", "iad", 35, 50),
            ("fra", "sfo", 60, 80),
            ("lhr", "syd", 110, 145),
            ("ams", "fra", 1, 6),
            ("ams", "ams", 0, 1),
        ] {
            let ms = delay_us(city(a), city(b)) / 1000;
            assert!((least_ms..=most_ms).contains(&ms), "{a} {b}: {ms} ms");
        }
    }

    #[test]
    fn every_city_is_there_once() {
        let mut names: Vec<_> = CITIES.iter().map(|city| city.0).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), CITIES.len());
    }
}
