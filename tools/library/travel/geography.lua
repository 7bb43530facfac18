-- Real cities with their real coordinates and provinces; distances and trains follow from them.

local geography = {}

geography.cities = {
  { "Beijing", 39.90, 116.41, "Beijing" },
  { "Tianjin", 39.13, 117.20, "Tianjin" },
  { "Shijiazhuang", 38.04, 114.51, "Hebei" },
  { "Baoding", 38.87, 115.46, "Hebei" },
  { "Jinan", 36.65, 117.12, "Shandong" },
  { "Qingdao", 36.07, 120.38, "Shandong" },
  { "Taian", 36.20, 117.09, "Shandong" },
  { "Zhengzhou", 34.75, 113.63, "Henan" },
  { "Luoyang", 34.62, 112.45, "Henan" },
  { "Kaifeng", 34.80, 114.31, "Henan" },
  { "Xian", 34.34, 108.94, "Shaanxi" },
  { "Taiyuan", 37.87, 112.55, "Shanxi" },
  { "Datong", 40.08, 113.30, "Shanxi" },
  { "Shanghai", 31.23, 121.47, "Shanghai" },
  { "Suzhou", 31.30, 120.58, "Jiangsu" },
  { "Wuxi", 31.49, 120.31, "Jiangsu" },
  { "Changzhou", 31.81, 119.97, "Jiangsu" },
  { "Nanjing", 32.06, 118.80, "Jiangsu" },
  { "Yangzhou", 32.39, 119.42, "Jiangsu" },
  { "Hangzhou", 30.27, 120.16, "Zhejiang" },
  { "Shaoxing", 30.00, 120.58, "Zhejiang" },
  { "Ningbo", 29.87, 121.54, "Zhejiang" },
  { "Jiaxing", 30.75, 120.76, "Zhejiang" },
  { "Huzhou", 30.89, 120.09, "Zhejiang" },
  { "Jinhua", 29.08, 119.65, "Zhejiang" },
  { "Wenzhou", 28.00, 120.70, "Zhejiang" },
  { "Hefei", 31.82, 117.23, "Anhui" },
  { "Huangshan", 29.71, 118.34, "Anhui" },
  { "Nanchang", 28.68, 115.86, "Jiangxi" },
  { "Fuzhou", 26.07, 119.30, "Fujian" },
  { "Xiamen", 24.48, 118.09, "Fujian" },
  { "Quanzhou", 24.87, 118.68, "Fujian" },
  { "Guangzhou", 23.13, 113.26, "Guangdong" },
  { "Shenzhen", 22.54, 114.06, "Guangdong" },
  { "Zhuhai", 22.27, 113.58, "Guangdong" },
  { "Foshan", 23.02, 113.12, "Guangdong" },
  { "Changsha", 28.23, 112.94, "Hunan" },
  { "Wuhan", 30.59, 114.31, "Hubei" },
  { "Yichang", 30.69, 111.29, "Hubei" },
  { "Chongqing", 29.56, 106.55, "Chongqing" },
  { "Chengdu", 30.57, 104.07, "Sichuan" },
  { "Leshan", 29.55, 103.77, "Sichuan" },
  { "Guiyang", 26.65, 106.63, "Guizhou" },
  { "Kunming", 25.04, 102.71, "Yunnan" },
  { "Dali", 25.61, 100.27, "Yunnan" },
  { "Guilin", 25.27, 110.29, "Guangxi" },
  { "Nanning", 22.82, 108.37, "Guangxi" },
  { "Shenyang", 41.81, 123.43, "Liaoning" },
  { "Dalian", 38.91, 121.61, "Liaoning" },
  { "Changchun", 43.82, 125.32, "Jilin" },
}

-- Cities that tasks with training seeds neither start from nor visit.
geography.held_out =
  { Luoyang = true, Xiamen = true, Dalian = true, Leshan = true, Yangzhou = true }

local function radians(degrees) return degrees * math.pi / 180 end

-- Great-circle distance in whole kilometres.
function geography.distance_km(lat1, lon1, lat2, lon2)
  local dlat, dlon = radians(lat2 - lat1), radians(lon2 - lon1)
  local a = math.sin(dlat / 2) ^ 2
    + math.cos(radians(lat1)) * math.cos(radians(lat2)) * math.sin(dlon / 2) ^ 2
  return math.floor(2 * 6371 * math.asin(math.sqrt(a)) + 0.5)
end

-- A direct train: minutes (a multiple of 5) and the fare in whole CNY, from the distance alone.
function geography.train(km)
  local minutes = 15 + math.floor(km * 60 / 220 / 5 + 0.5) * 5
  return minutes, math.max(10, math.floor(km * 0.46 + 0.5))
end

return geography
